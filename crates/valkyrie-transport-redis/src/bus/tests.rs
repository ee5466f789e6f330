//! Packets of messages, what becomes of them where patterns overlap, and gaps.
