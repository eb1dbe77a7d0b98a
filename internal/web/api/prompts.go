package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/control"
	"tandem/internal/masking"
)

// Prompt says which announcement callers hear.
type Prompt struct {
	Language  string `json:"language" example:"en"`
	Name      string `json:"name" example:"enter_pin"`
	Source    string `json:"source" enum:"own,builtin"`
	UpdatedAt string `json:"updated_at,omitempty" format:"date-time" doc:"of your own"`
}

// PromptPath names one announcement.
type PromptPath struct {
	TenantPath
	Language string `path:"language" doc:"ISO 639-1" example:"en"`
	Name     string `path:"name" example:"enter_pin"`
}

// ChangePromptInput is the request of replacing an announcement, and of going back
// to ours.
type ChangePromptInput struct {
	PromptPath
	Keyed
}

// prompts declares the operations on announcements.
func (r *router) prompts() {
	const one = "/prompts/{language}/{name}"
	op := func(method, path, id, summary string) huma.Operation {
		op := tenantOp(method, path, "prompts-"+id, summary)
		op.Tags = []string{"Prompts"}
		return op
	}
	operation[TenantPath, list[Prompt]](r, op("GET", "/prompts", "list", "List the announcements"), r.listPrompts)
	soundOp(r, op("GET", one, "get", "Get the sound of an announcement"), r.prompt)
	put := op("PUT", one, "put", "Say an announcement in your own words")
	put.Metadata = map[string]any{audioBody: true}
	put.RequestBody = &huma.RequestBody{Required: true, Description: "a WAV file of at most 1 MiB, 8 kHz and mono",
		Content: map[string]*huma.MediaType{wavMedia: {Schema: binary()}}}
	operation[ChangePromptInput, Prompt](r, put, r.putPrompt)
	operation[ChangePromptInput, Prompt](r, op("DELETE", one, "delete", "Go back to our words"), r.deletePrompt)
}

func (s *server) listPrompts(ctx context.Context, _ *TenantPath) (control.Answer, error) {
	t := exchangeOf(ctx).tenant
	all, err := s.Plane.Prompts.List(ctx, t.ID)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, newList(all, presentPrompt(t), false, nil)), nil
}

func presentPrompt(t masking.Tenant) func(control.Prompt) Prompt {
	return func(p control.Prompt) Prompt {
		v := Prompt{Language: p.Language, Name: p.Name, Source: "builtin", UpdatedAt: optionalStamp(p.UpdatedAt, t.Settings.Zone)}
		if p.Own {
			v.Source = "own"
		}
		return v
	}
}

func (s *server) prompt(ctx context.Context, in *PromptPath) (*sound, error) {
	audio, err := s.Plane.Prompts.Audio(ctx, exchangeOf(ctx).tenant.ID, in.Language, in.Name)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(audio)
	return &sound{ReadSeeker: bytes.NewReader(audio), name: in.Language + "-" + in.Name + ".wav", tag: hex.EncodeToString(sum[:16]), done: func() {}}, nil
}

func (s *server) putPrompt(ctx context.Context, in *ChangePromptInput) (control.Answer, error) {
	e := exchangeOf(ctx)
	if len(e.body) == 0 {
		return control.Answer{}, invalidBody("a WAV file is required")
	}
	file := control.PromptFile{Language: in.Language, Name: in.Name, Audio: e.body}
	return s.Plane.Prompts.Put(ctx, e.tenant.ID, file, once(ctx, s, http.StatusOK, presentPrompt(e.tenant)))
}

func (s *server) deletePrompt(ctx context.Context, in *ChangePromptInput) (control.Answer, error) {
	t := exchangeOf(ctx).tenant
	return s.Plane.Prompts.Delete(ctx, t.ID, in.Language, in.Name, once(ctx, s, http.StatusOK, presentPrompt(t)))
}
