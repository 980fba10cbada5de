/* SPDX-License-Identifier: BSD-3-Clause */
#include "record_meta.h"

#include "clock.h"
#include "expire.h"

void beam_record_meta_of(const struct beam_open_key *key, enum beam_eviction eviction,
			 struct beam_record_meta *meta)
{
	mstime_t idle_ms;
	long long freq;

	meta->len = 0;
	meta->expire = key->knows_expire ? key->expire_ms : REDISMODULE_NO_EXPIRE;
	if (!key->knows_expire && key->may_expire)
		meta->expire = beam_key_expire(key->handle);
	if (meta->expire != REDISMODULE_NO_EXPIRE) {
		meta->bytes[meta->len++] = BEAM_RDB_OP_EXPIRETIME_MS;
		beam_put_le64(meta->bytes + meta->len, (uint64_t)meta->expire);
		meta->len += 8;
	}
	if (eviction == BEAM_EVICTION_LRU &&
	    RedisModule_GetLRU(key->handle, &idle_ms) == REDISMODULE_OK && idle_ms >= 0) {
		meta->bytes[meta->len++] = BEAM_RDB_OP_IDLE;
		meta->len += beam_rdb_put_len(meta->bytes + meta->len, (uint64_t)idle_ms / 1000);
	} else if (eviction == BEAM_EVICTION_LFU &&
		   RedisModule_GetLFU(key->handle, &freq) == REDISMODULE_OK && freq >= 0) {
		meta->bytes[meta->len++] = BEAM_RDB_OP_FREQ;
		meta->bytes[meta->len++] = (uint8_t)freq;
	}
}

bool beam_record_has_expired(const struct beam_record_meta *meta)
{
	return meta->expire != REDISMODULE_NO_EXPIRE && meta->expire <= (mstime_t)beam_wall_ms();
}
