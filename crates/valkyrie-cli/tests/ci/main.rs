//! `valkyrie ci …` as people and scripts meet it: the real program, real processes, real links.

mod endings;
mod links;
mod logs;
mod losses;
mod programs;
mod support;
