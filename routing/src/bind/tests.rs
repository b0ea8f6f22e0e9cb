//! Routes and bytes of statements.
