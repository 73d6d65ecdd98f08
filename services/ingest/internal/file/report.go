package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/filereport"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/telemetry"
)

const (
	// maxDeliveries bounds the reports that are delivered between two looks.
	maxDeliveries = 20
	// maxPosted bounds a report that is posted; what is left out is said in it.
	maxPosted = 4 << 20
	// reportTimeout bounds the delivery of one report that is posted, writeTimeout that of one to a
	// directory, which has millions of rows with a file that is wrong from end to end; reportLease
	// is how long it is ours.
	reportTimeout = 30 * time.Second
	writeTimeout  = 5 * time.Minute
	reportLease   = 10 * time.Minute
	// The waits between two tries double from firstReportWait to maxReportWait. They never end:
	// a report is owed.
	firstReportWait = 10 * time.Second
	maxReportWait   = time.Hour
)

// sink is where a source's reports go.
type sink struct {
	report *integration.Report
	folder string // empty: they are posted
	client *egress.Client
}

func newSink(s *Source) (*sink, error) {
	k := &sink{report: s.file.Report}
	if !strings.HasPrefix(k.report.To, "http://") && !strings.HasPrefix(k.report.To, "https://") {
		k.folder = s.local(k.report.To)
		return k, nil
	}
	var err error
	k.client, err = egress.New(egress.Options{AllowPrivate: k.report.AllowPrivate, Timeout: reportTimeout})
	return k, err
}

func (k *sink) close() {
	if k.client != nil {
		k.client.Close()
	}
}

// deliver sends the reports that are due, until one fails: what hinders it
// hinders the next one, too.
func (s *Source) deliver(ctx context.Context) {
	if s.sink == nil {
		return
	}
	for range maxDeliveries {
		if ctx.Err() != nil {
			return
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		turn, ok, err := s.Ledger.TakeReport(call, s.integration, s.source, reportLease)
		cancel()
		if err != nil || !ok {
			if err != nil && ctx.Err() == nil {
				s.Log.Warn("the ledger could not say which reports are due", zap.Error(err))
			}
			return
		}
		if !s.deliverOne(ctx, turn) {
			return
		}
	}
}

func (s *Source) deliverOne(ctx context.Context, turn ledger.ReportTurn) bool {
	log := s.Log.With(zap.Int64("file_id", turn.File), zap.Int("try", turn.Try))
	longest := reportTimeout
	if s.sink.folder != "" {
		longest = writeTimeout
	}
	send, cancel := context.WithTimeout(ctx, longest)
	err := s.sendReport(send, turn.File)
	cancel()
	if ctx.Err() != nil {
		return false // the lease ends, and the report is due again
	}
	failure, wait := "", time.Duration(0)
	if err != nil {
		failure, wait = err.Error(), min(firstReportWait<<min(turn.Try-1, 10), maxReportWait)
		log.Warn("a report could not be delivered; it is tried again", zap.Duration("wait", wait), zap.Error(err))
		if !turn.Failed {
			f := fault.Of(err)
			s.Alert(telemetry.Problem{Kind: telemetry.KindPart, Integration: s.integration, Class: f.Class, Code: "report_undelivered", Where: s.source,
				Message: "the report on a file could not be delivered and is tried again, at last every hour: " + failure, Repair: "waybill file show " + strconv.FormatInt(turn.File, 10)})
		}
	} else {
		log.Info("the report on a file was delivered")
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.Ledger.EndReport(call, turn, failure, wait); err != nil {
		log.Warn("that the report was tried could not be kept; it is tried again when its lease ends", zap.Error(err))
	}
	return failure == ""
}

func (s *Source) sendReport(ctx context.Context, id int64) error {
	f, err := s.Ledger.FileByID(ctx, id)
	if err != nil {
		return err
	}
	options := filereport.Options{Rows: func(ctx context.Context, after int64, limit int) ([]ledger.RejectedRow, error) {
		return s.Ledger.RejectedRows(ctx, id, after, limit)
	}}
	format := s.sink.report.Format
	if s.sink.folder == "" {
		options.MaxBytes = maxPosted
		var body bytes.Buffer
		if err := filereport.Write(ctx, &body, format, f, options); err != nil {
			return err
		}
		return s.sink.post(ctx, f, body.Bytes())
	}
	return s.sink.write(reportName(f, format), func(w io.Writer) error { return filereport.Write(ctx, w, format, f, options) })
}

// reportName is the same for every try, so that a report lies there once.
func reportName(f ledger.FileStory, format string) string {
	name := safe(f.Name)
	return fmt.Sprintf("%s-%d.report.%s", strings.TrimSuffix(name, path.Ext(name)), f.ID, format)
}

// reportKey is the same for every try, and another one for each time that the file ended.
func reportKey(f ledger.FileStory) string {
	key := "report-" + f.TrackingID + "-" + f.State
	if f.EndedAt != nil {
		key += "-" + strconv.FormatInt(f.EndedAt.UnixMicro(), 36)
	}
	return key
}

func (k *sink) write(name string, write func(io.Writer) error) error {
	if err := os.MkdirAll(k.folder, folderMode); err != nil {
		return fmt.Errorf("make the directory of reports: %w", err)
	}
	root, err := os.OpenRoot(k.folder)
	if err != nil {
		return fmt.Errorf("open the directory of reports: %w", err)
	}
	defer root.Close()
	return writeWhole(root, name, write)
}

// post sends the report. Only a 2xx says that it was taken; the key tells the
// partner which one comes a second time.
func (k *sink) post(ctx context.Context, f ledger.FileStory, body []byte) error {
	header := http.Header{}
	header.Set("Content-Type", map[string]string{filereport.CSV: "text/csv; charset=utf-8", filereport.JSON: "application/json"}[k.report.Format])
	header.Set("Idempotency-Key", reportKey(f))
	if err := k.report.Auth.Apply(header); err != nil {
		return fault.Wrap(err, fault.Credentials, "secret_unreadable", "the credentials for reports cannot be read: %v", err)
	}
	answer, _, err := k.client.Do(ctx, egress.Request{Method: http.MethodPost, URL: k.report.To, Header: header, Body: body})
	if e, ok := errors.AsType[*egress.Error](err); ok {
		return e.Fault()
	}
	if err != nil {
		return err
	}
	if answer.Status < 200 || answer.Status > 299 {
		return fault.New(fault.System, "http_"+strconv.Itoa(answer.Status), "the address for reports answered with status %d; see report.to and report.auth", answer.Status)
	}
	return nil
}
