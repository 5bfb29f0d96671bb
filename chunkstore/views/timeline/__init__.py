"""What ran when: spans, lanes, the critical path; drawn in a terminal, on a page, as a trace."""

from chunkstore.views.timeline.from_log import timeline_of
from chunkstore.views.timeline.spans import Span, Timeline

__all__ = ["Span", "Timeline", "timeline_of"]
