package store

import "context"

type urgentKey struct{}

// Urgent gives a context for an Update of a moment that must not wait until others have
// done with theirs, such as a sign of life, and is worth nothing when it comes late. An
// engine whose updates do not wait for each other's connections need not heed it.
func Urgent(ctx context.Context) context.Context { return context.WithValue(ctx, urgentKey{}, true) }

// IsUrgent reports whether ctx is of Urgent.
func IsUrgent(ctx context.Context) bool { return ctx.Value(urgentKey{}) != nil }

type longKey struct{}

// Long gives a context for a View that goes through whole tables, and may take hours.
// Others an engine may end after a while: a server that does not answer must not hold its
// callers for ever.
func Long(ctx context.Context) context.Context { return context.WithValue(ctx, longKey{}, true) }

// IsLong reports whether ctx is of Long.
func IsLong(ctx context.Context) bool { return ctx.Value(longKey{}) != nil }
