//! Every bound and default in one place, related to each other by const asserts.
