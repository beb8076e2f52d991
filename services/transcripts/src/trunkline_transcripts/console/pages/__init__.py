"""The console's pages, for people who would rather look than read: HTML from the same questions as the API's.

A page is made of the API's own answers (`routes`), of shapes that are reckoned here (`timeline`, `waterfall`, `plots`,
all pure) and of templates that escape everything. Scripts and styles are files of ours; the policy allows no others.
"""
