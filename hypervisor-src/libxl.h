/* What bindgen reads: the two headers that the dom0 crates speak to. */
#include <libxl.h>
#include <xentoollog.h>
