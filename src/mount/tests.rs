//! File systems of the tests, mounted for real by this process.

mod session;
mod test_tree;
