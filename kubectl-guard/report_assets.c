/* SPDX-License-Identifier: Apache-2.0
 * Puts the two files into the program. The path is from the top of the tree, where make runs.
 */
#include "report_assets.h"

#define ASSET(name, file)                                                                          \
    __asm__(".section .rodata\n" #name "_from:\n.incbin \"" file "\"\n" #name                      \
            "_to:\n.previous\n");                                                                  \
    extern const uint8_t name##_from[] __attribute__((visibility("hidden")));                      \
    extern const uint8_t name##_to[] __attribute__((visibility("hidden")))

ASSET(asset_css, "kubectl-guard/report.css");
ASSET(asset_js, "kubectl-guard/report.js");

struct bytes report_css(void)
{
    return bytes_of(asset_css_from, (size_t)(asset_css_to - asset_css_from));
}

struct bytes report_js(void)
{
    return bytes_of(asset_js_from, (size_t)(asset_js_to - asset_js_from));
}
