//! Virtual time and lossy, slow, reordering links for testing Valkyrie sessions.
