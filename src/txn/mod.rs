//! Log records: what a request becomes once it is decided.
