package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"waybill.internal/pkg/fault"
)

const (
	awsEndpoint = "https://s3.amazonaws.com"
	// someRegion is what servers other than AWS are told when no region is given.
	someRegion = "us-east-1"
	pageKeys   = 1000
)

// bucketStore speaks S3. A folder is what lies below a prefix up to the next slash.
type bucketStore struct {
	*site
	core   minio.Core
	http   *http.Transport
	bucket string
	prefix string // with a slash at its end, or empty
}

func openBucket(s *site) (Store, error) {
	endpoint := s.remote.Endpoint
	if endpoint == "" {
		endpoint = awsEndpoint
	}
	at, err := url.Parse(endpoint)
	if err != nil || at.Host == "" {
		return nil, fault.New(fault.Bug, "bad_url", "source %s: remote.endpoint cannot be read", s.options.Source)
	}
	b := &bucketStore{site: s, bucket: s.url.Host}
	s.host = at.Host + "/" + b.bucket
	if b.prefix = strings.Trim(s.url.Path, "/"); b.prefix != "" {
		b.prefix += "/"
	}
	trust, err := s.tls()
	if err != nil {
		return nil, err
	}
	trust.ServerName = "" // that of each request: the bucket may be a part of it
	secret, err := s.secret(s.remote.Password)
	if err != nil {
		return nil, err
	}
	b.http = s.transport(trust, byOperation)
	region := s.remote.Region
	if region == "" && s.remote.Endpoint != "" && !strings.HasSuffix(at.Hostname(), ".amazonaws.com") {
		region = someRegion
	}
	client, err := minio.New(at.Host, &minio.Options{
		Creds: credentials.NewStaticV4(s.remote.Username, secret, ""), Secure: at.Scheme == "https",
		Region: region, Transport: b.http, MaxRetries: 1, // the next look is the retry
	})
	if err != nil {
		return nil, s.failed("open", "", err)
	}
	b.core = minio.Core{Client: client}
	return b, nil
}

// reply gives an answer its meaning.
func (b *bucketStore) reply(err error) error {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.Code {
	case minio.InvalidAccessKeyID, minio.SignatureDoesNotMatch, "ExpiredToken", "InvalidToken", "AuthorizationHeaderMalformed", "RequestTimeTooSkewed":
		return fault.Wrap(err, fault.Credentials, "login_refused", "the server refused the access key of source %s (%s); see remote.username, remote.password and remote.region", b.options.Source, clip(err))
	case minio.NoSuchBucket, "PermanentRedirect":
		return fault.Wrap(err, fault.Credentials, "bucket_missing", "there is no such bucket here (%s); see from, remote.endpoint and remote.region", clip(err))
	case minio.PreconditionFailed:
		return fmt.Errorf("%w: %w", err, ErrChanged)
	case minio.NoSuchKey:
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	case minio.AccessDenied:
		return fmt.Errorf("%w: %w", err, fs.ErrPermission)
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	case http.StatusForbidden:
		return fmt.Errorf("%w: %w", err, fs.ErrPermission)
	case http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", err, ErrChanged)
	case 0:
		return err // it is none of the server's
	}
	return fault.Wrap(err, fault.System, fmt.Sprintf("http_%d", answer.StatusCode), "the server answered %d (%s)", answer.StatusCode, clip(err))
}

func (b *bucketStore) do(ctx context.Context, longest time.Duration, budget int64, act, name string, work func(context.Context) error) error {
	ctx, done := b.lines.begin(ctx, longest, budget)
	defer done()
	if err := work(ctx); err != nil {
		return b.failed(act, name, b.reply(err))
	}
	return nil
}

func (b *bucketStore) List(ctx context.Context, match string, limit int) (entries []Entry, more bool, err error) {
	err = b.do(ctx, b.options.Brief, maxPages, "list", "", func(ctx context.Context) error {
		looking, cancel := context.WithCancel(ctx) // ends the iterator
		defer cancel()
		for object := range b.core.ListObjectsIter(looking, b.bucket, minio.ListObjectsOptions{Prefix: b.prefix, MaxKeys: pageKeys}) {
			if object.Err != nil {
				return object.Err
			}
			name, below := strings.CutPrefix(object.Key, b.prefix)
			if !below || strings.HasSuffix(object.Key, "/") || !b.ours(name, match) {
				continue
			}
			if len(entries) == limit {
				more = true
				break
			}
			entries = append(entries, entryOf(name, object))
		}
		return context.Cause(ctx) // the iterator ends silently with it
	})
	if err != nil {
		return nil, false, err
	}
	return entries, more, nil
}

func entryOf(name string, o minio.ObjectInfo) Entry {
	// A listing has milliseconds, the headers of an object only seconds.
	return Entry{Name: name, Size: o.Size, ModTime: o.LastModified.UTC().Truncate(time.Second), Tag: o.ETag}
}

// same compares what every answer about an object has.
func (b *bucketStore) same(e Entry, o minio.ObjectInfo) error {
	if o.Size != e.Size || o.ETag != e.Tag {
		return ErrChanged
	}
	return nil
}

func (b *bucketStore) check(ctx context.Context, e Entry) error {
	object, err := b.core.StatObject(ctx, b.bucket, b.prefix+e.Name, minio.StatObjectOptions{})
	if err != nil {
		return err
	}
	return b.same(e, object)
}

func (b *bucketStore) Fetch(ctx context.Context, e Entry, to *os.File, at int64) (Entry, error) {
	t, err := b.transferOf(e, to, at)
	if err != nil {
		return e, err
	}
	if e.Tag == "" {
		if err := t.cut(0); err != nil {
			return e, err
		}
	}
	err = b.do(ctx, b.options.Transfer, t.readBudget(), "fetch", e.Name, func(ctx context.Context) error {
		return b.fetch(ctx, t)
	})
	return t.entry, err
}

func (b *bucketStore) fetch(ctx context.Context, t *transfer) error {
	if t.at > 0 && t.at == t.entry.Size {
		return b.check(ctx, t.entry)
	}
	var options minio.GetObjectOptions
	if t.entry.Tag != "" {
		if err := options.SetMatchETag(t.entry.Tag); err != nil {
			return err
		}
	}
	if t.at > 0 {
		if err := options.SetRange(t.at, 0); err != nil {
			return err
		}
	}
	body, object, header, err := b.core.GetObject(ctx, b.bucket, b.prefix+t.entry.Name, options)
	if err != nil {
		return err
	}
	defer body.Close()
	// The size of a partial answer is that of the part.
	if object.ETag != t.entry.Tag {
		return ErrChanged
	}
	if from, _, ok := contentRange(header); t.at > 0 && (!ok || from != t.at) {
		if err := t.cut(0); err != nil {
			return err
		}
		if ok {
			return fmt.Errorf("the server answered with another part of the file than was asked for: %w", ErrChanged)
		}
	}
	if err := t.copy(body); err != nil {
		return err
	}
	return t.whole()
}

// Move copies the object and removes it at its old place. S3 has no rename: an
// object put under the old name within the last moment, between the look at it
// and its removal, goes with it, unless the bucket keeps versions.
func (b *bucketStore) Move(ctx context.Context, e Entry, folder string) error {
	return b.do(ctx, b.options.Brief, maxChatter, "move", e.Name, func(ctx context.Context) error {
		for _, name := range numbered(e.Name, time.Now()) {
			target := b.prefix + folder + "/" + name
			_, err := b.core.StatObject(ctx, b.bucket, target, minio.StatObjectOptions{})
			switch {
			case err == nil:
				continue
			case !errors.Is(b.reply(err), fs.ErrNotExist):
				return err
			}
			return b.moveTo(ctx, e, target)
		}
		return fault.New(fault.System, "name_taken", "there are several files of this name in %s already; clear it", folder)
	})
}

func (b *bucketStore) moveTo(ctx context.Context, e Entry, target string) error {
	if err := b.check(ctx, e); err != nil {
		return err
	}
	if _, err := b.core.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: b.bucket, Object: target},
		minio.CopySrcOptions{Bucket: b.bucket, Object: b.prefix + e.Name, MatchETag: e.Tag}); err != nil {
		return err
	}
	copied, err := b.core.StatObject(ctx, b.bucket, target, minio.StatObjectOptions{})
	if err != nil {
		return err
	}
	if copied.Size != e.Size {
		return fmt.Errorf("its copy has %d bytes instead of %d: %w", copied.Size, e.Size, ErrChanged)
	}
	return b.remove(ctx, e)
}

func (b *bucketStore) remove(ctx context.Context, e Entry) error {
	if err := b.check(ctx, e); err != nil {
		return err
	}
	return b.core.RemoveObject(ctx, b.bucket, b.prefix+e.Name, minio.RemoveObjectOptions{})
}

func (b *bucketStore) Delete(ctx context.Context, e Entry) error {
	return b.do(ctx, b.options.Brief, maxChatter, "delete", e.Name, func(ctx context.Context) error {
		return b.remove(ctx, e)
	})
}

func (b *bucketStore) Close() error {
	b.http.CloseIdleConnections()
	b.lines.closeAll()
	return nil
}
