/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERS_H
#define USERS_H

/* Calls `inside`, from the library. */
void find_user(void (*inside)(void));

#endif
