/* SPDX-License-Identifier: Apache-2.0
 * The formats of `export`: each reads a record to its end and writes it.
 */
#pragma once

#include "recordfile.h"

#include <stdio.h>

typedef enum exit_code export_fn(struct recordfile *f, FILE *to);

enum exit_code export_asciicast(struct recordfile *f, FILE *to);
enum exit_code export_json(struct recordfile *f, FILE *to);
enum exit_code export_csv(struct recordfile *f, FILE *to);
