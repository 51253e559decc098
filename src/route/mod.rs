//! Which virtual server and which route a request belongs to.
