//! Rows of several sorted shards into one sorted stream, on raw row packets of the text or binary protocol.
