package sqlstore

import (
	"context"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Prompts are a tenant's announcements, or those of all, without their sound.
func (r *Reader) Prompts(ctx context.Context, tenant masking.TenantID) ([]store.Prompt, error) {
	text, args := `SELECT tenant, language, name, updated_at FROM prompt`, []any(nil)
	if tenant != "" {
		text, args = text+` WHERE tenant = ?`, []any{tenant}
	}
	return list(ctx, r, text+` ORDER BY tenant, language, name`, args, func(_ *Reader, row Scanner) (p store.Prompt, err error) {
		return p, row.Scan(&p.Tenant, &p.Language, &p.Name, timeCol{&p.UpdatedAt})
	})
}

// Prompt reads one announcement with its sound.
func (r *Reader) Prompt(ctx context.Context, tenant masking.TenantID, language, name string) (p store.Prompt, err error) {
	err = r.row(ctx, `SELECT tenant, language, name, updated_at, audio FROM prompt WHERE tenant = ? AND language = ? AND name = ?`,
		[]any{tenant, language, name}, &p.Tenant, &p.Language, &p.Name, timeCol{&p.UpdatedAt}, blobCol{&p.Audio})
	return p, absent(err)
}

// PutPrompt writes an announcement in place of the one there is.
func (t *Tx) PutPrompt(ctx context.Context, p store.Prompt) error {
	t.c.Wrote(store.TopicAnnouncements)
	return t.insert(ctx, "the announcement", `INSERT INTO prompt (tenant, language, name, updated_at, audio) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (tenant, language, name) DO UPDATE SET updated_at = excluded.updated_at, audio = excluded.audio`,
		p.Tenant, p.Language, p.Name, millis(p.UpdatedAt), blob(p.Audio))
}

// DeletePrompt removes an announcement; ErrNotFound if there is none.
func (t *Tx) DeletePrompt(ctx context.Context, tenant masking.TenantID, language, name string) error {
	t.c.Wrote(store.TopicAnnouncements)
	return exactlyOne(t.exec(ctx, `DELETE FROM prompt WHERE tenant = ? AND language = ? AND name = ?`, tenant, language, name))
}
