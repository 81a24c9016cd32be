/* What bindgen reads: the headers that the dom0 crates speak to. */
#include <libxl.h>
#include <libxl_utils.h>
#include <xentoollog.h>
