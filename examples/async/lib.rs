//! Examples of streams with async code: each file beside this one is one, and is run by a test.
