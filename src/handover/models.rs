//! Models of the claims of this module.
