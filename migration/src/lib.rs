//! Moving rows between servers: row images, dirty keys, copy, verification, phases.
