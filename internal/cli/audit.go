package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/client"
	"tandem/internal/masking"
)

func (p *program) auditCommand() *cobra.Command {
	g := p.api("audit", "Who changed what and who listened to what (operator; list also as the tenant)")
	var q client.AuditQuery
	var at *client.Page
	list := g.add(verb{use: "list", short: "List entries, newest first; of one tenant with --tenant", args: exactly(),
		columns: []string{"sequence", "time", "actor", "tenant_id", "action", "object", "outcome", "request_id"},
		run: func(ctx context.Context, s *session, _ []string) error {
			if s.operates() {
				q.TenantID = s.to.Tenant
				_, err := s.Audit(ctx, q, *at)
				return err
			}
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.OwnAudit(ctx, tenant, q, *at)
			}
			return err
		}})
	at = paging(list)
	list.Flags().StringVar(&q.Action, "action", "", "an operationId of the API, as admin-tokens-create")
	list.Flags().StringVar(&q.Since, "since", "", "entries of this time or later (RFC 3339)")
	list.Flags().StringVar(&q.Until, "until", "", "entries before this time (RFC 3339)")
	list.Flags().BoolVar(&q.Oldest, "oldest", false, "oldest first")
	g.cmd.AddCommand(g.verifyCommand())
	return g.cmd
}

// verifyCommand checks the whole log, page by page. It computes every hash
// itself: it believes the server what the entries say, not that they fit.
func (g *apiGroup) verifyCommand() *cobra.Command {
	var kept string
	cmd := &cobra.Command{Use: "verify", Args: exactly(),
		Short: "Check that no entry was changed, removed or put in; prints the head, to be kept elsewhere",
		Long: "Checks the chain of the audit log from its first entry on and prints the last one's sequence and hash.\n" +
			"Exits with 1 and names the first place that does not fit. Whoever can write to the database can write\n" +
			"the whole chain anew: only a head that was kept where he cannot reach shows that (--head).",
		Example: "  tandem audit verify | tee -a /mnt/elsewhere/tandem-heads\n  tandem audit verify --head $(tail -n1 /mnt/elsewhere/tandem-heads | cut -d' ' -f2)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := g.session(cmd)
			if err != nil {
				return err
			}
			if err := s.asOperator(); err != nil {
				return err
			}
			var check masking.AuditCheck
			if kept != "" {
				hash, ok := hashOf(kept)
				if !ok {
					return misusef(cmd, "--head wants the 64 hexadecimal digits that verify printed")
				}
				check.Expect(hash)
			}
			if err := s.verify(cmd.Context(), &check); err != nil {
				return err
			}
			return s.printHead(check.Last())
		}}
	cmd.Flags().StringVar(&kept, "head", "", "a hash that verify printed before: the log must still hold its entry")
	return cmd
}

// verify leads a check along the log.
func (s *session) verify(ctx context.Context, check *masking.AuditCheck) error {
	head, err := s.AuditHead(ctx) // before the walk: what is added meanwhile is walked too
	if err != nil {
		return explained(err)
	}
	for at := (client.Page{Limit: 100}); ; {
		page, err := s.Audit(ctx, client.AuditQuery{Oldest: true}, at)
		if err != nil {
			return explained(err)
		}
		for _, item := range page.Items {
			e, err := auditEntry(item)
			if err == nil {
				err = check.Next(e)
			}
			if err != nil {
				return fmt.Errorf("the audit log is broken: %w", err)
			}
		}
		if at.Cursor = page.NextCursor; at.Cursor == "" {
			break
		}
	}
	hash, ok := hashOf(head.Hash)
	if !ok {
		return errAnswer
	}
	if err := check.End(masking.AuditHead{Sequence: head.Sequence, Hash: hash}); err != nil {
		return fmt.Errorf("the audit log is broken: %w", err)
	}
	return nil
}

func (s *session) printHead(last masking.AuditHead) error {
	hash := hex.EncodeToString(last.Hash[:])
	if s.format == formatJSON {
		text, err := json.Marshal(client.AuditHead{Sequence: last.Sequence, Hash: hash})
		if err != nil {
			return err
		}
		return printJSON(s.out, text)
	}
	_, err := fmt.Fprintf(s.out, "%d %s\n", last.Sequence, hash)
	return err
}

// auditEntry reads an entry. One that cannot be read was not written so.
func auditEntry(item client.AuditEntry) (masking.AuditEntry, error) {
	at, err := time.Parse(time.RFC3339, item.Time)
	previous, ok := hashOf(item.PreviousHash)
	hash, whole := hashOf(item.Hash)
	if err != nil || !ok || !whole {
		return masking.AuditEntry{}, &masking.AuditBreak{Sequence: item.Sequence, Why: "its time or its hashes are none"}
	}
	return masking.AuditEntry{Sequence: item.Sequence, At: at, Actor: item.Actor, Tenant: masking.TenantID(item.TenantID), Action: item.Action,
		Object: item.Object, Outcome: item.Outcome, Request: item.RequestID, Previous: previous, Hash: hash}, nil
}

func hashOf(text string) (hash [32]byte, ok bool) {
	b, err := hex.DecodeString(text)
	copy(hash[:], b)
	return hash, err == nil && len(b) == len(hash)
}
