/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Parses with inet_pton after cutting off an IPv6 zone.
 */
#include "address.h"

#include <arpa/inet.h>
#include <string.h>

#include "ctl.h"

bool beam_address_pack(const char *text, uint8_t out[BEAM_ADDR_PACKED])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char plain[BEAM_ADDR_BYTES];
	size_t len = strcspn(text, "%");

	if (len >= sizeof(plain))
		return false;
	memcpy(plain, text, len);
	plain[len] = '\0';
	if (inet_pton(AF_INET6, plain, out) == 1)
		return true;
	memcpy(out, mapped, sizeof(mapped));
	return inet_pton(AF_INET, plain, out + sizeof(mapped)) == 1;
}
