/* SPDX-License-Identifier: Apache-2.0
 * Writing HTML of what agents and databases said. There is no way to put such text into a page but
 * html_text, which cleans and escapes it.
 */
#pragma once

#include "src-common/buffer.h"

struct json_object;

/* Text, or an attribute's value in double quotes: cleaned as for a terminal (text.h), escaped. */
void html_text(struct buffer *out, struct bytes text);
/* "before" + the field's text + "after", when it is there and not empty. The two are our own HTML.
 */
void html_field(struct buffer *out, const char *before, struct json_object *o, const char *key,
                const char *after);
void html_number(struct buffer *out, const char *before, struct json_object *o, const char *key,
                 const char *after);
/* A JSON string that may stand inside <script>: no <, > or & in it. */
void html_json_string(struct buffer *out, struct bytes text);
/* "sha256-…", as a Content-Security-Policy names an inline script or style. */
void html_csp_hash(struct buffer *out, struct bytes content);
