/* SPDX-License-Identifier: Apache-2.0
 * Which built-in functions and operators an agent may use without being allowed each by name.
 * Tables; any thread.
 */
#pragma once

#include "src-common/base.h"

/* A function of pg_catalog that computes on its arguments only, or describes schema or session. */
bool function_is_pure(const char *name);
/* A helper function of information_schema that drivers' metadata queries call. */
bool function_is_schema_helper(const char *name);
/* An operator symbol of pg_catalog. */
bool operator_is_built_in(const char *name);
/* Of a pure function in FROM: its columns' names (NULL-terminated), or NULL with *ret_scalar
 * set when it has one column, named as the alias or the function; NULL and not scalar when its
 * columns depend on its arguments. */
const char *const *function_columns(const char *name, bool *ret_scalar);
/* For the tests: the tables are searched by halves. */
bool functions_are_sorted(void);
