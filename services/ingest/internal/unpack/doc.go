// Package unpack opens what is around a file: gzip (also of several members),
// bzip2, xz, zstd and zip archives, recognised by their first bytes, never by a name.
//
// # What is refused
//
// Nothing of an archive is ever used as a path to write to: members are streams.
// Encrypted members, other archives (tar, 7z, rar, lz4, compress) and more than
// two layers (a zip of gzip files has two) are refused by name.
//
// # Bombs
//
// A legitimate export of 1 GiB compresses 5 to 100 times, so neither size nor ratio
// alone tells a bomb, and the readers behind hold one row, never the file: what has
// to be bounded is time and rows. Therefore:
//
//   - Output is refused as a bomb once it is beyond 8 MiB and more than 500 times
//     as large as the input that made it. gzip ends at 1,032 times, which only
//     files that say nothing reach; bzip2 and zstd bombs are far beyond. Up to the
//     refusal that takes well under a second, or a few for the shortest rows.
//   - Output of one file, all members together, is refused beyond max_size of the
//     integration (64 GiB by default).
//   - Members of an archive may not share bytes, which is how archives of a few MiB
//     hold petabytes; sizes that an archive claims are never believed or allocated.
//   - The directory of an archive has at most 8 MiB, and at most 10,000 members are
//     read. The window of zstd and the dictionary of xz are at most 64 MiB.
//   - What must be a file on disk (a spreadsheet inside gzip) has at most 1 GiB.
//
// A bomb of one endless line ends at the bound of the reader of lines.
package unpack
