/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One binary form for every IP address, so that addresses can be compared.
 */
#ifndef BEAM_ADDRESS_H
#define BEAM_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#define BEAM_ADDR_PACKED 16

/* Converts an address in text form: IPv6 as it is, IPv4 as an IPv4-mapped IPv6 address, so that
 * servers listening on :: and on 0.0.0.0 see the same peer. An IPv6 zone is dropped. Returns false
 * when the text is not an address. */
bool beam_address_pack(const char *text, uint8_t out[BEAM_ADDR_PACKED]);

#endif
