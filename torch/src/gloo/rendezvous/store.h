#include "gloo/types.h"
