//! A block of lines at the bottom of a terminal, with text scrolling above it.

/// Redraws lines in place. The lines must be no wider than the terminal, or the count is wrong.
#[derive(Clone, Debug, Default)]
pub struct LiveBlock {
    shown: usize,
}

impl LiveBlock {
    /// What to write so that `above` scrolls by and `lines` are the block. `above` is whole lines.
    pub fn redraw(&mut self, above: &str, lines: &[String]) -> String {
        let mut out = self.clear();
        out.push_str(above);
        for line in lines {
            out.push_str(line);
            out.push('\n');
        }
        self.shown = lines.len();
        out
    }

    /// What to write so that the block is gone.
    pub fn clear(&mut self) -> String {
        match std::mem::take(&mut self.shown) {
            0 => String::new(),
            // Up to the block's first line, then erase to the end of the screen. The return is for a
            // terminal that has echoed a ^C.
            shown => format!("\r\x1b[{shown}A\x1b[J"),
        }
    }
}
