"""What a terminal shows of a timeline."""

from chunkstore.views.timeline import timeline_of
from chunkstore.views.timeline.gantt import gantt_lines


def text_of(log, **options):
    options = {"width": 80} | options
    lines = gantt_lines(timeline_of(log), **options)
    return ["".join(text for text, _ in line).rstrip() for line in lines]
