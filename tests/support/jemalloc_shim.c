/* SPDX-License-Identifier: BSD-3-Clause
 * For sanitized builds, preloaded before ASan's runtime: jemalloc's own functions, which ASan does
 * not replace as it does malloc. Redis 8 allocates memory with them that it then frees, or
 * measures, with malloc's; Valkey does it the other way round. Also, Valkey from 8.1 on loads
 * modules in a way for which ASan ends the process. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>

#define LG_ALIGN_MASK 63
#define ZERO          64

void *mallocx(size_t len, int flags);
void *rallocx(void *old, size_t len, int flags);
void dallocx(void *memory, int flags);
void sdallocx(void *memory, size_t len, int flags);
size_t nallocx(size_t len, int flags);

#define EXPORTED __attribute__((visibility("default")))

EXPORTED void *mallocx(size_t len, int flags)
{
	size_t align = (size_t)1 << (flags & LG_ALIGN_MASK);

	if (flags & ZERO)
		return calloc(1, len);
	return align > sizeof(max_align_t) ? aligned_alloc(align, (len + align - 1) & ~(align - 1))
					   : malloc(len);
}

EXPORTED void *rallocx(void *old, size_t len, int flags)
{
	(void)flags;
	return realloc(old, len);
}

EXPORTED void dallocx(void *memory, int flags)
{
	(void)flags;
	free(memory);
}

EXPORTED void sdallocx(void *memory, size_t len, int flags)
{
	(void)len;
	(void)flags;
	free(memory);
}

EXPORTED size_t nallocx(size_t len, int flags)
{
	(void)flags;
	return len;
}

EXPORTED void *dlopen(const char *path, int flags)
{
	void *(*next)(const char *, int);

	*(void **)&next = dlsym(RTLD_NEXT, "dlopen");
	return next(path, flags & ~RTLD_DEEPBIND);
}
