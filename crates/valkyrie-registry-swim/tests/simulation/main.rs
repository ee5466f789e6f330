//! What a fleet promises, under virtual time: how fast a crash is noticed, that no member stays out who is well, and that views agree
//! again after the last fault.

mod faults;
mod hostile;
mod noticing;
mod world;
