"""The privacy audit: what left each site, whether the two records of it agree, and what is left at the site."""
