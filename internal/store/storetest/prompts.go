package storetest

import (
	"bytes"
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func promptTests() []test {
	return []test{
		{"AnAnnouncementIsReadAsWrittenAndListedWithoutItsSound", promptRoundTrip},
		{"AnAnnouncementIsPutInPlaceOfTheOneThereIs", promptReplaced},
		{"ADeletedAnnouncementIsGone", promptDeleted},
	}
}

// Prompt is a tenant's announcement with some sound.
func Prompt(tenant masking.TenantID, language, name string) store.Prompt {
	return store.Prompt{Tenant: tenant, Language: language, Name: name, UpdatedAt: Start(),
		Audio: bytes.Repeat([]byte(language+name+"\x00\xff"), 20_000)}
}

// listed is an announcement as lists show it.
func listed(p store.Prompt) store.Prompt {
	p.Audio = nil
	return p
}

func (b *bench) put(p store.Prompt) store.Prompt {
	b.Helper()
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.PutPrompt(ctx, p) })
	return p
}

func (b *bench) prompts(tenant masking.TenantID) []store.Prompt {
	b.Helper()
	return get(b, func(ctx context.Context, tx store.Reader) ([]store.Prompt, error) { return tx.Prompts(ctx, tenant) })
}

func prompt(tenant masking.TenantID, language, name string) func(context.Context, store.Reader) (store.Prompt, error) {
	return func(ctx context.Context, tx store.Reader) (store.Prompt, error) {
		return tx.Prompt(ctx, tenant, language, name)
	}
}

func promptRoundTrip(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	for _, p := range []store.Prompt{Prompt("other", "en", "wrong-pin"), Prompt("acme", "hi", "enter-pin"),
		Prompt("acme", "en", "wrong-pin"), Prompt("acme", "en", "enter-pin")} {
		b.put(p)
		if got := get(b, prompt(p.Tenant, p.Language, p.Name)); !bytes.Equal(got.Audio, p.Audio) {
			b.Errorf("%s %s sounds another way", p.Language, p.Name)
		} else {
			equal(b, listed(got), listed(p))
		}
	}
	for _, err := range []error{getErr(b, prompt("other", "en", "enter-pin")), getErr(b, prompt("acme", "fr", "enter-pin")),
		getErr(b, prompt("acme", "hi", "wrong-pin"))} {
		b.code(masking.CodeNotFound, err)
	}
	acme := []store.Prompt{listed(Prompt("acme", "en", "enter-pin")), listed(Prompt("acme", "en", "wrong-pin")), listed(Prompt("acme", "hi", "enter-pin"))}
	equal(b, b.prompts("acme"), acme)
	equal(b, b.prompts(""), append(acme, listed(Prompt("other", "en", "wrong-pin"))))
	equal(b, len(b.prompts("nobody")), 0)
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		return tx.PutPrompt(ctx, Prompt("nobody", "en", "enter-pin"))
	})
}

func promptReplaced(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	b.put(Prompt("acme", "en", "enter-pin"))
	foreign := b.put(Prompt("other", "en", "enter-pin"))
	next := Prompt("acme", "en", "enter-pin")
	next.Audio, next.UpdatedAt = []byte{1, 0, 2}, Start().Add(time.Hour)
	b.put(next)
	equal(b, get(b, prompt("acme", "en", "enter-pin")), next)
	equal(b, b.prompts("acme"), []store.Prompt{listed(next)})
	equal(b, bytes.Equal(get(b, prompt("other", "en", "enter-pin")).Audio, foreign.Audio), true)
}

func promptDeleted(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	kept := b.put(Prompt("other", "en", "enter-pin"))
	b.put(Prompt("acme", "en", "enter-pin"))
	remove := func(ctx context.Context, tx store.Tx) error { return tx.DeletePrompt(ctx, "acme", "en", "enter-pin") }
	b.update(remove)
	b.refused(masking.CodeNotFound, remove)
	b.code(masking.CodeNotFound, getErr(b, prompt("acme", "en", "enter-pin")))
	equal(b, b.prompts(""), []store.Prompt{listed(kept)})
}
