/* SPDX-License-Identifier: Apache-2.0
 * What a YAML scalar is: a string, a number, true or false, nothing.
 */
#pragma once

#include "yaml.h"

/* Sets type and number of a node whose text is set. `tag` is what the document wrote, or NULL;
 * `plain`: without quotes. NULL, or the reason why it is refused. */
const char *scalar_resolve(struct node *n, const char *tag, bool plain);
