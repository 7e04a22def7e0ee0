/* SPDX-License-Identifier: Apache-2.0
 * One document of a file, or one item of a list in it: kind, metadata, spec.
 */
#pragma once

#include "model.h"

/* Adds the object, or the objects of a List, to the snapshot. */
int object_load(const struct place *document) MUST_CHECK;
