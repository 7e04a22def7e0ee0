/* SPDX-License-Identifier: Apache-2.0
 * What every report holds: its style and its terminal, files of this folder.
 */
#pragma once

#include "src-common/bytes.h"

struct bytes report_css(void);
struct bytes report_js(void);
