//! What going from one topology to another means: instantly, behind a barrier, or not at all.
