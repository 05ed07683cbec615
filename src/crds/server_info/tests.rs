//! Tests of the server's description.
