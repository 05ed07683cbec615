//! The command `crds-fs`.

fn main() {}
