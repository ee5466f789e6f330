//! That this binding is what the sources were written for: the same sizes, places of fields and values that
//! `tests/import_point.rs` of `valkyrie-transport-rdma` holds the other binding to.

#[path = "../../valkyrie-transport-rdma/tests/layout/mod.rs"]
mod layout;
