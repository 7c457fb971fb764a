"""Channels on which quantum protocols encrypt or carry the messages of a federation.

With a key source each selected client and the server distribute key once a round; what they get encrypts and
authenticates the broadcast on its way down and the update on its way up. A message carrier transmits the bits of the
update themselves. Numbers travel as they are, so that a training differs from one over a plain channel only where
something was lost.
"""

from qfl_sec.channel import Channel, ChannelSpec, PlainChannel, open_plain
from qfl_sec.protocol_contracts import KeySource
from qfl_sec.protocols.direct_channel import DirectChannel
from qfl_sec.protocols.keyed_channel import KeyedChannel
from qfl_sec.randomness import Streams


def open_channel(spec: ChannelSpec, streams: Streams) -> Channel:
    """Open a channel for one training, with the streams of its own."""
    if isinstance(spec, PlainChannel):
        return open_plain(spec, streams)
    return KeyedChannel(spec, streams) if isinstance(spec, KeySource) else DirectChannel(spec, streams)
