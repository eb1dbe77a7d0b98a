package control

import (
	"context"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Prompts are the use cases of a tenant's announcements: his own words in place
// of ours.
type Prompts struct {
	*core
	book Announcements
}

// Prompt says which announcement a tenant's callers hear.
type Prompt struct {
	Language, Name string
	Own            bool      // the tenant's own recording, not ours
	UpdatedAt      time.Time // of his own
}

// PromptFile is a recording that a tenant has sent.
type PromptFile = store.Prompt

// known refuses what is no announcement of this server.
func (s *Prompts) known(language, name string) error {
	if s.book == nil || !slices.Contains(s.book.Languages(), language) || !slices.Contains(s.book.Names(), name) {
		return masking.ErrNotFound()
	}
	return nil
}

// List gives every announcement in every language.
func (s *Prompts) List(ctx context.Context, t masking.TenantID) ([]Prompt, error) {
	if s.book == nil {
		return nil, nil
	}
	var own []store.Prompt
	err := s.view(ctx, "list prompts", func(ctx context.Context, tx store.Reader) (err error) {
		own, err = tx.Prompts(ctx, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []Prompt
	for _, language := range s.book.Languages() {
		for _, name := range s.book.Names() {
			p := Prompt{Language: language, Name: name}
			if i := slices.IndexFunc(own, p.is); i >= 0 {
				p.Own, p.UpdatedAt = true, own[i].UpdatedAt
			}
			all = append(all, p)
		}
	}
	return all, nil
}

func (p Prompt) is(o store.Prompt) bool { return p.Language == o.Language && p.Name == o.Name }

// Audio gives the WAV file of an announcement: the tenant's own, or ours.
func (s *Prompts) Audio(ctx context.Context, t masking.TenantID, language, name string) ([]byte, error) {
	if err := s.known(language, name); err != nil {
		return nil, err
	}
	var own store.Prompt
	err := s.view(ctx, "read a prompt", func(ctx context.Context, tx store.Reader) (err error) {
		own, err = tx.Prompt(ctx, t, language, name)
		return err
	})
	if masking.KindOf(err) != masking.NotFound {
		return own.Audio, err
	}
	if audio, ok := s.book.Builtin(language, name); ok {
		return audio, nil
	}
	return nil, masking.ErrNotFound()
}

// Put takes a tenant's own recording. Refused is a file that cannot be played;
// the refusal says why.
func (s *Prompts) Put(ctx context.Context, t masking.TenantID, file PromptFile, once Once[Prompt]) (Answer, error) {
	if err := s.known(file.Language, file.Name); err != nil {
		return Answer{}, err
	}
	if err := s.book.Check(file.Audio); err != nil {
		return Answer{}, &masking.Error{Kind: masking.Invalid, Code: masking.CodeInvalidAudio, Message: err.Error()}
	}
	return change(ctx, s.core, t, "keep a prompt", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Prompt, error) {
			file.Tenant, file.UpdatedAt = t, now
			return Prompt{file.Language, file.Name, true, now}, tx.PutPrompt(ctx, file)
		})
}

// Delete goes back to our words. NotFound where they are in force already.
func (s *Prompts) Delete(ctx context.Context, t masking.TenantID, language, name string, once Once[Prompt]) (Answer, error) {
	return change(ctx, s.core, t, "remove a prompt", once,
		func(ctx context.Context, tx store.Tx, _ time.Time) (Prompt, error) {
			return Prompt{Language: language, Name: name}, tx.DeletePrompt(ctx, t, language, name)
		})
}
