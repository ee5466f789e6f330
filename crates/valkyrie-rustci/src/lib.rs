//! RustCI: a control plane and runners that speak Valkyrie.
