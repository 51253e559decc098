//! Host names into members: on a schedule, and at once when asked.
