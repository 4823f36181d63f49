//! Loads the capture kernel into the crashkernel reservation.
