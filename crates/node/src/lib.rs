//! Shows paceline to JavaScript: handles, one batch of events per wake, teardown.
