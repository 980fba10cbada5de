/* SPDX-License-Identifier: BSD-3-Clause
 * One spelling for every address, for those who compare them. */
#ifndef BEAM_ADDRESS_H
#define BEAM_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#define BEAM_ADDR_PACKED 16

/* IPv6 as it is, IPv4 mapped into it, so that a server that listens on :: and one on 0.0.0.0 see the
 * same peer; a zone is dropped. False when the text is no address. */
bool beam_address_pack(const char *text, uint8_t out[BEAM_ADDR_PACKED]);

#endif
