"""What a terminal shows of a timeline."""

from chunkstore.views.timeline.gantt import render_gantt
from chunkstore.views.timeline.timeline import timeline_of


def text_of(log, **options):
    options = {"width": 80} | options
    lines = render_gantt(timeline_of(log), **options)
    return ["".join(text for text, _ in line).rstrip() for line in lines]
