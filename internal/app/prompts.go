package app

import (
	"context"
	"encoding/base64"
	"log/slog"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/voice/prompt"
)

// announcements tells the control plane what the voice plane can say.
type announcements struct{ sounds *prompt.Library }

func (a announcements) Check(file []byte) error {
	_, err := prompt.Parse(file)
	return err
}

func (a announcements) Names() []string {
	var names []string
	for _, n := range prompt.Names() {
		names = append(names, string(n))
	}
	return names
}

func (a announcements) Languages() []string { return a.sounds.Languages() }

func (a announcements) Builtin(language, name string) ([]byte, bool) {
	return prompt.File(language, prompt.Name(name))
}

// ownPrompts keeps the tenants' own announcements in memory, ready to be said.
type ownPrompts struct {
	sounds *prompt.Library
	store  store.Store
	log    *slog.Logger
	clips  map[prompt.Key]ownPrompt
}

type ownPrompt struct {
	clip    prompt.Clip
	updated time.Time
}

// reload reads what has changed since the last time.
func (p *ownPrompts) reload(ctx context.Context) error {
	next, changed := map[prompt.Key]ownPrompt{}, false
	err := p.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		all, err := tx.Prompts(ctx, "")
		if err != nil {
			return err
		}
		for _, one := range all {
			key := prompt.Key{Tenant: string(one.Tenant), Language: one.Language, Name: prompt.Name(one.Name)}
			have, known := p.clips[key]
			if !known || !have.updated.Equal(one.UpdatedAt) {
				if have, err = loadPrompt(ctx, tx, one); err != nil {
					return err
				}
				if have.clip.IsZero() { // ours is heard then
					p.log.Error("an announcement of a tenant cannot be played", "tenant", string(one.Tenant), "language", one.Language, "name", one.Name)
				}
				changed = true
			}
			next[key] = have
		}
		return nil
	})
	if err != nil || !changed && len(next) == len(p.clips) {
		return err
	}
	p.clips = next
	clips := make(map[prompt.Key]prompt.Clip, len(next))
	for key, own := range next {
		clips[key] = own.clip
	}
	p.sounds.Replace(clips)
	return nil
}

func loadPrompt(ctx context.Context, tx store.Reader, one store.Prompt) (ownPrompt, error) {
	full, err := tx.Prompt(ctx, one.Tenant, one.Language, one.Name)
	if err != nil {
		return ownPrompt{}, err
	}
	clip, err := prompt.Parse(full.Audio)
	if err != nil { // an earlier release took it; it must not keep the others from being heard
		clip = prompt.Clip{}
	}
	return ownPrompt{clip, full.UpdatedAt}, nil
}

// strangerSecret is what signs the questions to a tenant's server, as the Standard
// Webhooks specification writes it.
func (a *App) strangerSecret(t masking.TenantID) string {
	key, err := a.key("stranger webhook of " + string(t))
	if err != nil { // the master key was read at the start
		a.log.Error("webhook secret", "error", err.Error())
	}
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}
