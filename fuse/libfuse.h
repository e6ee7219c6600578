// The one place that names the version of libfuse's interface, and the kernel's own structures that
// it does not show.
#pragma once

#define FUSE_USE_VERSION 314

#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
